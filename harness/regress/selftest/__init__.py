"""The command selftest: rates of false alarms and of found slowdowns on this machine."""
