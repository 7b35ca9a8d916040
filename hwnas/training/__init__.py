"""Training of networks, of supernets, and of distributions over their networks: one loop, the same bits again after a kill."""
