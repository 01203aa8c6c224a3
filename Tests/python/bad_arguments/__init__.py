"""Every argument of every exported function, wrong in every way that its type allows.

`tables` says, header by header, what each parameter and each field of each options struct is
(`kinds`: a number from 1 to 65536, a handle, an array of weights, ...); a kind knows which values
are wrong, and with which status and message each is to be refused. `run` makes the calls, all from
one process, and looks whether anything has changed: memory of the caller's, objects behind handles.
`header` reads the headers, so that what is declared without being in the tables is found.
"""
