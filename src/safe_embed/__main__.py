"""`python -m safe_embed`."""

from safe_embed.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
