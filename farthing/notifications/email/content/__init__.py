"""What a mail says: its facts, read from the books when it is sent, in the words of a language.

`facts` asks whether a mail is still true and collects what it tells; `letter` makes it a subject, HTML and text from
the files in `texts` and `templates`. A letter is a pure function of its facts, the language and the letterhead, so the
pages can show samples of all.

Rule: docs/rules/email.md#what-a-mail-says
"""
