"""Search spaces, one file each; the file's name is the space's name."""
