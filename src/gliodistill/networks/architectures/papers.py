"""The publication of each network, and its published size."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """One publication.

    Attributes:
        citation: authors, year, where to find it.
        parameters: of the network, in millions, as stated there or of the authors' own code; None
            if neither is known.
        gflops: 10⁹ operations of a pass over 4×128³ voxels, a multiply–add being two, likewise.
    """

    citation: str
    parameters: float | None = None
    gflops: float | None = None


NNUNET = "Isensee et al. 2021, nnU-Net, doi 10.1038/s41592-020-01008-z"
XU = "Xu et al. 2022, doi 10.1007/978-3-031-12053-4_25"

PAPERS: dict[str, Paper] = {
    "attention_fused": Paper(XU),
    "attention_fused_third": Paper(XU),
    "attention_unet": Paper("Islam et al. 2020, arXiv 2104.00985"),
    "cascaded_unet": Paper(
        "Lachinov et al. 2018, arXiv 1810.04008", parameters=38.192, gflops=410.0
    ),
    "deepmedic": Paper("Kamnitsas et al. 2017, arXiv 1603.05959"),
    "fast": Paper("this toolkit"),
    "nnunet": Paper(NNUNET),
    "nnunet_third": Paper(XU),
    "no_new_net": Paper("Isensee et al. 2018, No New-Net, arXiv 1809.10483"),
    "residual_unet": Paper("Lachinov et al. 2019, arXiv 2002.03688", parameters=4.51, gflops=299.0),
    "s3d_unet": Paper("Chen et al. 2018, S3D-UNet, doi 10.1007/978-3-030-11726-9_32"),
    "segresnet": Paper("Myronenko 2018, arXiv 1810.11654"),
    "segresnet_vae": Paper("Myronenko 2018, arXiv 1810.11654"),
    "trans_bts": Paper("Wang et al. 2021, TransBTS, arXiv 2103.04430", parameters=32.99),
    "unet": Paper("Çiçek et al. 2016, arXiv 1606.06650"),
    "unet_plus_plus": Paper("Zhou et al. 2018, UNet++, arXiv 1807.10165"),
    "zero_filled": Paper("this toolkit"),
}
"""Publications by names of the registry."""
