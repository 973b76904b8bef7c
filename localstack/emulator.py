"""`python localstack/emulator.py start|stop|status`: the embedded AWS emulator, for use by hand."""

from pik.local.emulator import main

if __name__ == "__main__":
    main()
