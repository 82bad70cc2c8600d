"""What does a fine-tuned model say of the rows of a file?  The program's name; see finetune/ask/predict.py."""

from finetune.ask.predict import main

if __name__ == "__main__":
    main()
