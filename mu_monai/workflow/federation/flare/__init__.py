"""What runs inside NVFlare: the job, its server, and the program of a site. No other module imports NVFlare."""
