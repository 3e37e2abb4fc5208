"""Host processes: the wire, what may cross it, the parent's end of a host and the child's."""
