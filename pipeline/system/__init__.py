"""The machine: errors, terminal, files, journal, signals, processes, executors, git and DVC.

This room knows no picture and no network. Every other room may import it.
"""
