"""An examination in which two machines take part.

They have no connection but the storage that is examined: requests and answers are documents in the doctor's folder.
`codes` names the folder and keeps others out, `messages` and `requests` say what a document may contain, `post` writes
and awaits it, `client` is the other machine's client as the probes use it, `joining` is the other machine's side.
"""
