"""`python -m cloze`: the command `cloze`, where it is not on the path, and under `accelerate launch -m cloze ...`."""

from cloze.command import main

if __name__ == "__main__":
    main()
