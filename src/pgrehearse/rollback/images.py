"""Before-images: exactly what a plan destroys or overwrites, copied into a quarantine namespace before it runs.

The story of an image: `take_images` before the migration; `refresh_images` in the migration's own transaction, before
its first statement; `settle_images` in the same one, before its COMMIT; `put_back` (its own module) in the rollback's
transaction, after the inverse; `drop_images` when nobody will go back any more.
"""

from pgrehearse.rollback.image import NAMESPACE, Image, find_images
from pgrehearse.rollback.image_plan import ImagePlan, plan_images
from pgrehearse.rollback.image_refresh import Refreshed, refresh_images
from pgrehearse.rollback.image_settle import settle_images
from pgrehearse.rollback.image_take import drop_images, take_images

__all__ = [
    "NAMESPACE",
    "Image",
    "ImagePlan",
    "Refreshed",
    "drop_images",
    "find_images",
    "plan_images",
    "refresh_images",
    "settle_images",
    "take_images",
]
