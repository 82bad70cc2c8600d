"""What does a language model make of a task that only its prompt describes?  Few-shot evaluation."""
