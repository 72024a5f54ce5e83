"""Which store is primary, how that changes, and the facts for the gates.

epochs       which store is primary, and the switch (rules 21 and 30)
gates        the facts that the gates judge
read_shapes  which reads applications make
writers      writers as an operator sees them
"""
