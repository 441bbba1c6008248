"""The public functions of ``import fewshot as fs``: what the command line does, for notebooks and scripts.

Images are uint8 tensors (num_images, channels, height, width). Accuracies are fractions, in data frames percentages.
Mistakes raise ``episodes.errors.UserError`` or one of its kinds, with a message that says what to do.
"""
