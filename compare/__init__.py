"""Which of several systems is the best, if each is pretrained on the same text for the same time?"""
