"""What each part of pik may do in AWS, as IAM policies. Pure: from specs to statements."""
