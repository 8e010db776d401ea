"""Pages: notebooks and the front page as HTML that works from disk, offline, on a phone, in the dark and on paper.

`convert` turns an executed notebook into the body of an article, `assemble` puts pages and the single file together,
`check` refuses a page with a broken link, a picture without words, or anything to fetch.
"""
