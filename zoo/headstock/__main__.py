"""`python -m headstock`: the same as the command `headstock`, where its folder is not on the PATH."""

from headstock.cli.main import main

if __name__ == "__main__":
    main()
