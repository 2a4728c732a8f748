"""The site file and what it means: reading, checking, editing, merging. Pure: text and values in, values out."""
