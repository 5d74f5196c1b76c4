"""The commands: parse, build options, call the library, print."""
