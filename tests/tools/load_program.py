"""Loads a Python program that has no .py in its name, so that a test can call its functions."""
import importlib.machinery
import importlib.util
import sys


def load_program(path):
    """The program as a module. It is not run: it must ask for __main__."""
    loader = importlib.machinery.SourceFileLoader(path.name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(path.name, loader))
    sys.modules[path.name] = module  # dataclasses look for it there
    loader.exec_module(module)
    return module
