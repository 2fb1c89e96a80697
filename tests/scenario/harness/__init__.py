"""The harness of the scenario tests: the real programs in directories of their own, and SMTP peers that tests script.

A test imports only from here and from no module below. Only the standard library is used, so that Debian's python3 is enough.
"""
from .bivalved import Bivalved, check_accounting, log_line
from .case import ScenarioCase, main
from .clamd import Clamd, ClamdTap, NullClamd
from .metrics import FormatError, parse as parse_metrics
from .network import Namespaces, Switched
from .messages import (compose, eicar, eicar_message, infected_attachment, read_test_file, stuffed,
                       test_file_names, text_message, unstuffed, with_attachment, without_header)
from .ports import Port, busy_port, free_port
from .postfix import Postfix
from .process import PROJECT, SLOW, TIMEOUT, Process, forbid_io_uring, run_program, tool, wait_until
from .schema import problems as schema_problems
from .scripted_clamd import ScriptedClamd
from .smtp_client import Reply, SmtpClient
from .smtp_server import CLOSE, RESET, STALL, SmtpSink

__all__ = [
    "Bivalved", "CLOSE", "Clamd", "ClamdTap", "FormatError", "Namespaces", "NullClamd", "PROJECT", "Port", "Postfix",
    "Process", "RESET", "Reply", "SLOW", "STALL", "ScenarioCase", "ScriptedClamd", "SmtpClient", "SmtpSink",
    "Switched", "TIMEOUT", "busy_port", "check_accounting", "compose", "eicar", "eicar_message", "forbid_io_uring",
    "free_port", "infected_attachment", "log_line", "main", "parse_metrics", "read_test_file", "run_program",
    "schema_problems", "stuffed", "test_file_names", "text_message", "tool", "unstuffed", "wait_until",
    "with_attachment", "without_header",
]
