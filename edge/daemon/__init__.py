"""The daemon: a reader thread, the main loop, the SQLite store and its streams.

The modules log to loggers below `ccnvr`. A program that uses the daemon as a library sees nothing
of that until it adds a handler; `ccnvr run` adds the one in `edge.service.log`.
"""

import logging

# Without a handler of any kind, Python would print warnings to standard error itself.
logging.getLogger("ccnvr").addHandler(logging.NullHandler())
