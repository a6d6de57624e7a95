"""What runs inside NVFlare: the job, its server, and the program of a site. Nothing else of mu_monai imports NVFlare."""
