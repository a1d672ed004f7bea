"""`python -m pneumoscope`: the command line."""

from pneumoscope.cli import main

if __name__ == "__main__":
    main()
