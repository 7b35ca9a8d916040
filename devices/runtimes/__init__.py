"""One file per runtime; the file's name is the device's name."""
