"""What the pages say, made from the committed files: the rows of their tables, and sentences with numbers in them."""
