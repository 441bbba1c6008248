"""`python -m fewshot`: the command line, where its script is not on the path."""

from fewshot.cli.main import main

if __name__ == "__main__":
    main()
