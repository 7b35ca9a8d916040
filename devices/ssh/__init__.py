"""Devices on machines elsewhere: ``ssh://user@host:port/onnxruntime:threads=4``, through the system's OpenSSH.

Here are ``address``, ``client`` (the ssh program), ``worker`` (this end of a connection) and ``target`` (what is set up there,
and what can run). The other end is ``install`` (sets itself up), ``supervisor`` (holds the machine's lock and the models, and
ends the worker with the connection), ``lock`` and ``store``; these import the standard library and, but for ``install``, this
package's worker half.
"""
