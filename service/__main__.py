"""`python -m service` is the `mintage` command; processes that we start use it, since it needs no PATH."""

from service.cli import main

if __name__ == "__main__":
    main()
