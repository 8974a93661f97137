"""The camera's own motion between two frames, told from corners, and a frame with it taken out.

Corners of the first frame are followed into the second, and back; of those that come home a
homography is fitted that most agree with, so that what moves by itself does not count. Seen
through it, the second frame stands as if the camera had not moved: flow to it is warped flow.

Source: L. Wang et al., "Temporal Segment Networks", ECCV 2016, Section 3.2, after H. Wang,
C. Schmid, "Action Recognition with Improved Trajectories", ICCV 2013, Section 3.1.
Differs: there SURF descriptors and points of a dense flow are matched; here corners are followed by
B. Lucas and T. Kanade's method over a pyramid, which needs nothing that is patented or contributed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marey.video.flow import Image, opencv

Homography = NDArray[np.float64]

CORNERS = 1000  # looked for at most
HOME = 0.5  # pixels from where it set out that a corner followed there and back may end
AGREE = 1.0  # pixels within which a corner agrees with a homography
LEAST = 12  # corners that must agree, and
SHARE = 0.25  # their least share of all that set out


def camera_motion(first: Image, second: Image) -> Homography | None:
    """The homography (3, 3) from pixels (x, y) of ``first`` to those of ``second``, both (H, W, 3).

    None where too few corners agree on one. Raises ValueError without OpenCV, and for frames of
    different sizes.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"frames of {first.shape} and {second.shape} pixels; camera motion needs one size"
        )
    cv2 = opencv("warped")
    one, two = (cv2.cvtColor(np.ascontiguousarray(x), cv2.COLOR_RGB2GRAY) for x in (first, second))
    corners = cv2.goodFeaturesToTrack(one, CORNERS, 0.01, max(3, min(one.shape) // 60))
    if corners is None or len(corners) < LEAST:
        return None
    there, found, _ = cv2.calcOpticalFlowPyrLK(one, two, corners, None)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(two, one, there, None)
    astray = np.linalg.norm((back - corners).reshape(-1, 2), axis=1)
    kept = (found.ravel() == 1) & (returned.ravel() == 1) & (astray < HOME)
    if kept.sum() < LEAST:
        return None
    pairs = corners.reshape(-1, 2)[kept], there.reshape(-1, 2)[kept]
    motion, agree = cv2.findHomography(*pairs, cv2.RANSAC, AGREE)
    if motion is None or agree.sum() < max(LEAST, SHARE * len(corners)):
        return None
    return np.asarray(motion, dtype=np.float64)


def steadied(first: Image, second: Image, motion: Homography) -> Image:
    """``second`` seen from where the camera stood at ``first``, (H, W, 3).

    Where it shows nothing of a pixel the first frame stands in, so that nothing moves there.
    """
    cv2 = opencv("warped")
    height, width = first.shape[:2]
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpPerspective(np.ascontiguousarray(second), motion, (width, height), flags=how)
    whole = np.full((height, width), 255, np.uint8)
    reach = cv2.warpPerspective(whole, motion, (width, height), flags=how)
    return np.where(reach[..., None] == 255, seen, first)
