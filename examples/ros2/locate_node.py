"""A ROS 2 node that says where a camera is: sensor_msgs/Image in, sensor_msgs/NavSatFix out.

Usage: python locate_node.py --ros-args -p database:=my_town -r image:=/camera/image_raw

It needs rclpy, sensor_msgs and cv_bridge of a ROS 2 installation, and progeo with the extra ``places``. The database
must be calibrated, as ``progeo index`` does it. Its radius holds the true place of eight in ten right estimates. Other
places are published as no fix.
"""

import math

import rclpy
from cv_bridge import CvBridge
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, NavSatFix, NavSatStatus

import progeo

EIGHT_IN_TEN = 1.794  # radius of eight in ten over the standard deviation of each axis (Rayleigh)


class LocateNode(Node):
    """Locates the newest image, one after the other."""

    def __init__(self) -> None:
        """Open the database and listen."""
        super().__init__("progeo_locate")
        database = self.declare_parameter("database", "my_town").value
        self.least = self.declare_parameter("min_confidence", 0.5).value
        self.database = progeo.PlaceDatabase.open(database, device="auto")
        self.bridge = CvBridge()
        self.fixes = self.create_publisher(NavSatFix, "fix", 10)
        self.create_subscription(Image, "image", self.locate, qos_profile_sensor_data)

    def locate(self, image: Image) -> None:
        """Publish where an image was taken."""
        pixels = self.bridge.imgmsg_to_cv2(image, desired_encoding="rgb8")
        (estimate,) = self.database.locate([pixels], min_confidence=self.least)
        fix = NavSatFix(header=image.header, altitude=math.nan)
        fix.status.status = NavSatStatus.STATUS_FIX if estimate.known else NavSatStatus.STATUS_NO_FIX
        fix.latitude = fix.longitude = math.nan
        if estimate.known:
            fix.latitude, fix.longitude = estimate.latitude, estimate.longitude
            variance = ((estimate.radius_metres or 25.0) / EIGHT_IN_TEN) ** 2
            fix.position_covariance = [variance, 0.0, 0.0, 0.0, variance, 0.0, 0.0, 0.0, 1e6]
            fix.position_covariance_type = NavSatFix.COVARIANCE_TYPE_APPROXIMATED
        self.fixes.publish(fix)


def main() -> None:
    """Run the node until it is stopped."""
    rclpy.init()
    rclpy.spin(LocateNode())


if __name__ == "__main__":
    main()
