"""The folder that is shipped: its files, each runtime's own among them, and the certificate of what they do on a device."""
