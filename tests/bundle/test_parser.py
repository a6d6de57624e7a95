"""One table of MONAI's names serves every parser."""

from monai.networks.nets import UNet

from mu_monai.bundle.parser import component_locator, config_parser


def test_a_name_without_dots_is_found_and_all_parsers_look_it_up_in_one_table():
    network = {"_target_": "UNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": [4, 8]}
    parser = config_parser({"network": network | {"strides": [2]}})
    assert isinstance(parser.get_parsed_content("network"), UNet)
    assert parser.locator is config_parser().locator is component_locator()
