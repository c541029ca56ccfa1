"""Notes to look at: code, checkpoints and answers that are nearly the same, and gates that do not fit the rest of a result.

What they need is kept while a class is graded (``kept``); ``notes`` finds them and ``page`` shows them. They are for people: nothing
here touches a point, and nothing of it is in what a student reads.
"""
