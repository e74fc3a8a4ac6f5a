"""``python -m vadpipe`` is the ``vadpipe`` command."""

from vadpipe.cli import main

if __name__ == "__main__":
    main()
