"""Which store is primary, how that changes, and what the gates look at.

epochs   who is primary, and the switch (rules 21 and 30)
gates    what the gates look at
writers  writers as an operator sees them
"""
