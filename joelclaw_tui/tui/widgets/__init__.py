"""Parts of screens: the live table, ages, state words, header, key bar, fields.
In come values that are typed and read already; hostile text is cleaned where it becomes a cell.
Out go messages about keys and cursor; nothing in here reads from a server or changes anything.
"""
