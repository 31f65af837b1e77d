"""Web pages for people, and the streams that keep them up to date.

Begin with `views`, the handlers. `live` draws one `portrait` for each state of a source and sends what changed to
everybody in the source's room (`rooms`); `refresh` syncs while a person watches. `templates/` has the HTML, `static/`
the script, the style sheet and the icon.
"""
