"""`python -m mu_monai` is `mu-monai`."""

from mu_monai.cli import main

if __name__ == "__main__":
    main()
