//! Enrolment: pictures to templates on threads of their own, and from there to store and gallery in order.
