"""`python -m pganalytics.cli`: the same as the console script."""

from pganalytics.cli.main import main

if __name__ == "__main__":
    main()
