"""The one family of layers that every transformer here is made of."""
