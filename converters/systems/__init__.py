"""The systems that the documents describe: what each is fed, what it says, and how its networks are made."""
