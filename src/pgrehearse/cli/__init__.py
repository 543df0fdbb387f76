"""The commands: parse, call one function, show the value it returns."""
