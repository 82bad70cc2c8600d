"""What does the GLUE server want?  The program's name; see finetune/table/submission.py."""

from finetune.table.submission import main

if __name__ == "__main__":
    main()
