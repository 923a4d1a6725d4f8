"""`inktex build-engine`: make TensorRT's engines ahead of their first use, where they will run."""

from __future__ import annotations

import time

import click


@click.command(name="build-engine", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", type=click.Path(file_okay=False), metavar="BUNDLE")
@click.option("--precision", default="all", show_default=True, help="fp16, ... or all.")
@click.option("--anew", is_flag=True, help="Make them even if they are there.")
def build_engine(bundle: str, precision: str, anew: bool) -> None:
    """Make the engines of a bundle for the GPU of this machine, and keep them.

    Otherwise the first start on a device makes them, and takes as long. They lie in the cache
    folder (INKTEX_CACHE names another) and serve this GPU, driver and version of TensorRT only:
    run this on the Jetson itself, and again after an upgrade.

    \b
    Examples:
      inktex build-engine my-bundle
      INKTEX_CACHE=/opt/kiosk/cache inktex build-engine my-bundle --precision fp16
    """
    from ..core.bundle import Bundle
    from . import bundle_folder
    from .cuda_store import Cuda
    from .tensorrt_engines import EngineCache
    from .tensorrt_runtime import engine_of, tensorrt_or_unavailable

    opened = Bundle.open(bundle_folder(bundle))
    variants = [
        each
        for each in opened.manifest.variants
        if each.target == "tensorrt" and precision in ("all", each.precision)
    ]
    if not variants:
        opened.variant("tensorrt", precision)  # says which there are
    library, device, cache = tensorrt_or_unavailable(), Cuda(), EngineCache()
    interface = opened.manifest.interface
    for variant in variants:
        for name, spec in ((variant.encoder, interface.encoder), (variant.step, interface.step)):
            began = time.monotonic()
            click.echo(f"{name}: making an engine, or finding it ...", err=True)
            arguments = (library, device, opened, name, spec, variant.limits, cache)
            engine = engine_of(*arguments, anew=anew)
            click.echo(f"{name}: {len(engine):,} bytes, {time.monotonic() - began:.1f} s")
    click.echo(f"in {cache.folder}")
