"""``python -m crewlab``: the same as ``crewlab``."""

from crewlab.cli import main

if __name__ == "__main__":
    main()
