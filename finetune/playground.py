"""A page on which models answer.  The program's name; see finetune/ask/playground/__main__.py."""

from finetune.ask.playground.__main__ import main

if __name__ == "__main__":
    main()
