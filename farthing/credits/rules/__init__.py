"""The pure rules of credits: conversion, eligibility and consumption of lots, bonuses. No session, no clock."""
