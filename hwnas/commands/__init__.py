"""The commands, one file for each group; each returns an :class:`hwnas.commands.answer.Answer`."""
